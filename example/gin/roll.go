package dice

import (
	"fmt"
	"math/rand/v2"
	"net/http"

	"github.com/gin-gonic/gin"
)

const (
	maxDice  = 100
	maxSides = 1000
)

// Roll is the function to deploy. Its path is the parameter "path": /2d6 rolls
// two dice of six sides.
func Roll(c *gin.Context) {
	var dice, sides int
	_, err := fmt.Sscanf(c.Param("path"), "/%dd%d", &dice, &sides)
	if err != nil || dice < 1 || dice > maxDice || sides < 1 || sides > maxSides {
		c.JSON(http.StatusBadRequest, gin.H{"error": "say what to roll, as in /2d6"})
		return
	}
	sum, rolls := 0, make([]int, dice)
	for i := range rolls {
		rolls[i] = 1 + rand.IntN(sides)
		sum += rolls[i]
	}
	c.JSON(http.StatusOK, gin.H{"rolls": rolls, "sum": sum})
}
